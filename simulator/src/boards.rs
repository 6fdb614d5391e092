//! The boards that a scenario may name, because the language must know them before a fake driver is created.

/// Every board profile's name, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fake_gpu::profile_names().into_iter().map(str::to_owned).collect();
    names.sort();
    names
}
