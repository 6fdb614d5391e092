//! A fake GPU node: boards, memory, processes, MPS, one truth shared by every process.
