# Runs inside Godot 3: loads res://clay_ball.glb as the game would, prints what it finds as JSON.
extends SceneTree

func _init():
	var root = load("res://clay_ball.glb").instance()
	var report = {"version": Engine.get_version_info()["string"], "nodes": []}
	walk(root, root, report)
	print("REPORT " + to_json(report))
	root.free()
	quit()

func walk(node, root, report):
	var found = {"name": node.name, "class": node.get_class(), "path": str(root.get_path_to(node))}
	if node is MeshInstance:
		describe(node, found)
	report["nodes"].append(found)
	for child in node.get_children():
		walk(child, root, report)

func describe(node, found):
	var box = node.transform.xform(node.get_aabb())
	found["low"] = [box.position.x, box.position.y, box.position.z]
	found["high"] = [box.end.x, box.end.y, box.end.z]
	found["surfaces"] = node.mesh.get_surface_count()
	var arrays = node.mesh.surface_get_arrays(0)
	found["has_uv"] = arrays[Mesh.ARRAY_TEX_UV] != null
	found["has_normals"] = arrays[Mesh.ARRAY_NORMAL] != null
	found["triangles"] = arrays[Mesh.ARRAY_INDEX].size() / 3
	var material = node.mesh.surface_get_material(0)
	found["material"] = material.resource_name
	found["metallic"] = material.metallic
	found["roughness"] = material.roughness
	found["albedo"] = [material.albedo_color.r, material.albedo_color.g, material.albedo_color.b]
	var texture = material.albedo_texture
	found["texture"] = [texture.get_width(), texture.get_height()] if texture else null
