//! Boards as data, because a fake is only as good as the facts it repeats.

use std::sync::OnceLock;

use crate::mig::MigProfile;

/// The profiles that ship with the crate: name and YAML.
const PROFILES: [(&str, &str); 4] = [
    ("a100-sxm4-40gb", include_str!("../profiles/a100-sxm4-40gb.yaml")),
    ("h100-80gb-hbm3", include_str!("../profiles/h100-80gb-hbm3.yaml")),
    ("l40s", include_str!("../profiles/l40s.yaml")),
    ("tesla-t4", include_str!("../profiles/tesla-t4.yaml")),
];

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No profile of this name ships with the crate.
    #[error("unknown GPU profile `{name}`, known: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A profile's YAML is wrong.
    #[error("GPU profile `{name}` is not readable: {why}")]
    Unreadable {
        /// Whose.
        name: String,
        /// Where and what.
        why: String,
    },
}

/// Names of all profiles, sorted.
pub fn profile_names() -> Vec<&'static str> {
    PROFILES.iter().map(|(name, _)| *name).collect()
}

/// GPU architectures, with NVML's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Before tensor cores.
    Pascal,
    /// First with address-space isolation under MPS.
    Volta,
    /// Tesla T4.
    Turing,
    /// A100.
    Ampere,
    /// L40S.
    Ada,
    /// H100.
    Hopper,
    /// B200.
    Blackwell,
}

impl Architecture {
    /// NVML's number.
    pub fn number(self) -> u32 {
        match self {
            Self::Pascal => 4,
            Self::Volta => 5,
            Self::Turing => 6,
            Self::Ampere => 7,
            Self::Ada => 8,
            Self::Hopper => 9,
            Self::Blackwell => 10,
        }
    }
}

/// A board, as its profile file describes it.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardProfile {
    /// Product name, as NVML gives it.
    pub name: String,
    /// Architecture.
    pub architecture: Architecture,
    /// CUDA compute capability.
    pub compute_capability: Capability,
    /// Sizes of its memories.
    pub memory: MemorySizes,
    /// Identity and link on the PCI bus.
    pub pci: Pci,
    /// VBIOS version.
    pub vbios: String,
    /// Part number of the board.
    pub board_part_number: String,
    /// Whether the memory has ECC (always on here).
    pub ecc: bool,
    /// Most MIG devices; 0: no MIG.
    pub mig_devices_max: u32,
    /// What GPU instances it can be cut into.
    #[serde(default)]
    pub mig_profiles: Vec<MigProfile>,
    /// Whether it is attached to an NVLink fabric whose state NVML tells (boards with NVSwitch from Hopper on).
    #[serde(default)]
    pub fabric: bool,
    /// NVLinks; 0: none.
    pub nvlinks: u32,
    /// Power.
    pub power: Power,
    /// Temperatures.
    pub temperature: Temperature,
    /// Highest clocks.
    pub clocks: Clocks,
}

/// CUDA compute capability.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Before the point.
    pub major: u32,
    /// After the point.
    pub minor: u32,
}

/// Memory sizes in MiB.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySizes {
    /// Framebuffer.
    pub total_mib: u64,
    /// Kept by driver and firmware.
    pub reserved_mib: u64,
    /// BAR1 window.
    pub bar1_mib: u64,
}

/// PCI identity.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pci {
    /// Device id (high half) and vendor id (low half).
    pub device_id: u32,
    /// Subsystem id.
    pub subsystem_id: u32,
    /// Link generation.
    pub generation: u32,
    /// Link width, lanes.
    pub width: u32,
}

/// Power in milliwatts.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Limit.
    pub limit_mw: u32,
    /// Draw when idle.
    pub idle_mw: u32,
}

/// Temperatures in degrees Celsius.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// When idle.
    pub idle_c: u32,
    /// Where the GPU shuts down, if the board gives it in degrees.
    pub shutdown_c: Option<u32>,
    /// Where it slows down, if the board gives it in degrees.
    pub slowdown_c: Option<u32>,
}

/// Highest clocks in MHz.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Graphics and SM.
    pub graphics_mhz_max: u32,
    /// Memory.
    pub memory_mhz_max: u32,
    /// Video.
    pub video_mhz_max: u32,
}

impl BoardProfile {
    /// Reads the profile `name` that ships with the crate.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`] with the names that exist.
    pub fn load(name: &str) -> Result<Self, ProfileError> {
        Self::shipped(name).map(|(_, profile)| profile.clone())
    }

    /// The profile `name` and its place in [`profile_names`]; each is read once.
    pub(crate) fn shipped(name: &str) -> Result<(u32, &'static Self), ProfileError> {
        let found = (0_u32..).zip(PROFILES).find(|(_, (known, _))| *known == name);
        let Some((number, _)) = found else {
            let known = profile_names().join(", ");
            return Err(ProfileError::Unknown { name: name.to_owned(), known });
        };
        match read(number) {
            Some(Ok(profile)) => Ok((number, profile)),
            Some(Err(why)) => Err(ProfileError::Unreadable { name: name.to_owned(), why: why.clone() }),
            None => {
                Err(ProfileError::Unreadable { name: name.to_owned(), why: "it is not there".to_owned() })
            }
        }
    }

    /// The GPU instance profiles of a shipped board, by its number; none for boards without MIG.
    pub(crate) fn mig_profiles_of(number: u32) -> &'static [MigProfile] {
        match read(number) {
            Some(Ok(profile)) => &profile.mig_profiles,
            _ => &[],
        }
    }
}

fn read(number: u32) -> Option<&'static Result<BoardProfile, String>> {
    static READ: [OnceLock<Result<BoardProfile, String>>; PROFILES.len()] =
        [const { OnceLock::new() }; PROFILES.len()];
    let (_, yaml) = PROFILES.get(number as usize)?;
    let place = READ.get(number as usize)?;
    Some(place.get_or_init(|| serde_saphyr::from_str(yaml).map_err(|error| error.to_string())))
}
