"""OpenVINO on the CPU: the engine for x86."""
