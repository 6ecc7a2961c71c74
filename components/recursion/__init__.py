"""THE loop: compose -> fit -> sample -> measure, generation after generation, for every family."""
