"""Published diffusion models as priors, loaded from diffusers folders or Hugging Face Hub ids."""
