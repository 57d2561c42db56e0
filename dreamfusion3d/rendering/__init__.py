"""Pictures from fields and from meshes."""
