"""Published diffusion models behind the prior's contract, from folders and hub ids in diffusers' format."""
