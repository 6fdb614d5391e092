//! Decides: what a GPU node offers and who may have it. No IO, no clock, no async.
