//! A fake libnvidia-ml.so.1: NVML's C interface over fake-gpu.
