"""The diffusion process: noise schedule, timestep weights, guidance and samplers."""
