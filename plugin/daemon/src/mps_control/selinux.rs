//! The SELinux label of directories that containers mount: without it a confined container may not open an MPS pipe.

use std::path::Path;

/// Where the kernel shows SELinux when it is on.
const SELINUX: &str = "/sys/fs/selinux";
/// The extended attribute that holds a file's label.
const ATTRIBUTE: &str = "security.selinux";
/// What containers may use, as NVIDIA's MPS daemon labels its pipe directories.
const LABEL: &[u8] = b"system_u:object_r:container_file_t:s0\0";

/// Labels these directories, and what is in them, where the machine has SELinux. A failure is told and is no obstacle: it
/// matters to confined containers alone.
pub(crate) fn label(directories: &[&Path]) {
    if !Path::new(SELINUX).exists() {
        return;
    }
    for directory in directories {
        let inside = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in std::iter::once(directory.to_path_buf()).chain(inside) {
            if let Err(why) = label_one(&path) {
                let path = path.display().to_string();
                tracing::warn!(
                    path,
                    %why,
                    "the SELinux label `container_file_t` cannot be set; confined containers may not reach MPS (hint: chcon)"
                );
            }
        }
    }
}

fn label_one(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::lsetxattr(path, ATTRIBUTE, LABEL, rustix::fs::XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_cannot_be_set_is_an_error_with_a_reason() {
        let missing = label_one(Path::new("/nonexistent/directory")).unwrap_err();
        assert_eq!(missing, rustix::io::Errno::NOENT);
    }
}
