//! The laboratory: plays scenarios against the real plugin, or a model of it.
