"""`glimt quantize`: an int8 version of a model, measured beside the float32 one. Never imported on the serving path."""
