//! What kind of machine this is: on Tegra and WSL, GPUs have no NVML that this program could use, and saying so once is
//! better than a driver that is missing for good. The signs are those of NVIDIA k8s-device-plugin v0.20.

use std::path::Path;

/// Where WSL puts the host's driver.
const WSL_LIBRARY: &str = "usr/lib/wsl/lib/libdxcore.so";
/// The device through which WSL reaches GPUs.
const WSL_DEVICE: &str = "dev/dxg";
/// Names the release of Linux for Tegra.
const TEGRA_RELEASE: &str = "etc/nv_tegra_release";
/// Names the family of a system on a chip, below sysfs.
const SOC_FAMILY: &str = "devices/soc0/family";
/// What NVML calls GPUs that are part of such a system.
const TEGRA_NAMES: [&str; 2] = ["(nvgpu)", "NVIDIA Thor"];

/// Boards that only drive a display (NVIDIA k8s-device-plugin v0.20).
const DISPLAY_BOARDS: [&str; 2] = ["DGX Display", "NVIDIA DGX Display"];

/// Whether NVML's name of a GPU is that of a board that computes nothing.
pub(crate) fn is_display_only(name: &str) -> bool {
    DISPLAY_BOARDS.contains(&name)
}

/// Whether this is WSL, and how that is known.
pub(crate) fn wsl(driver_root: &Path) -> Option<String> {
    let signs = [WSL_LIBRARY, WSL_DEVICE].map(|sign| driver_root.join(sign));
    let seen = signs.iter().find(|sign| sign.exists())?;
    Some(format!("`{}` is there, and GPUs are reached through DirectX", seen.display()))
}

/// Whether this is Tegra, and how that is known.
pub(crate) fn tegra(driver_root: &Path, sysfs_root: &Path) -> Option<String> {
    let release = driver_root.join(TEGRA_RELEASE);
    if release.exists() {
        return Some(format!("`{}` is there, and no NVML", release.display()));
    }
    let family = sysfs_root.join(SOC_FAMILY);
    let text = std::fs::read_to_string(&family).ok()?;
    let is_tegra = text.to_lowercase().starts_with("tegra");
    is_tegra.then(|| format!("`{}` says `{}`", family.display(), text.trim()))
}

/// Whether NVML's name of a GPU is one of Tegra, and how that is known.
pub(crate) fn tegra_gpu(name: &str) -> Option<String> {
    let is_tegra = TEGRA_NAMES.iter().any(|part| name.contains(part));
    is_tegra.then(|| format!("its GPU is called `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(file: &str, text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        root
    }

    fn kinds(root: &Path) -> (bool, bool) {
        (wsl(root).is_some(), tegra(root, &root.join("sys")).is_some())
    }

    #[test]
    fn each_kind_of_machine_is_known_by_its_files() {
        let cases = [
            ("etc/nv_tegra_release", "# R36", (false, true)),
            ("sys/devices/soc0/family", "Tegra\n", (false, true)),
            ("sys/devices/soc0/family", "Snapdragon\n", (false, false)),
            ("usr/lib/wsl/lib/libdxcore.so", "", (true, false)),
            ("dev/dxg", "", (true, false)),
            ("dev/nvidia0", "", (false, false)),
        ];
        for (file, text, expected) in cases {
            assert_eq!(kinds(machine(file, text).path()), expected, "{file} {text}");
        }
    }

    #[test]
    fn display_boards_are_known_by_their_whole_name() {
        assert!(is_display_only("DGX Display") && is_display_only("NVIDIA DGX Display"));
        for board in ["NVIDIA DGX Display Adapter", "NVIDIA A100-SXM4-80GB", "dgx display", ""] {
            assert!(!is_display_only(board), "{board}");
        }
    }

    #[test]
    fn gpus_of_a_system_on_a_chip_are_known_by_their_names() {
        assert!(tegra_gpu("Orin (nvgpu)").is_some());
        assert!(tegra_gpu("NVIDIA Thor").is_some());
        assert!(tegra_gpu("Tesla T4").is_none());
    }
}
