//! What the plugin's image holds, as its Dockerfile says: a manifest can start only a program that is in it.

use std::collections::BTreeMap;

/// Repository of the image.
const REPOSITORY: &str = "tandem/device-plugin";

/// The image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Repository and tag.
    pub(super) reference: String,
    /// What is started when a manifest names no command.
    pub(super) entrypoint: Vec<String>,
    /// The environment that every container begins with.
    pub(super) env: BTreeMap<String, String>,
    /// The names of programs in `/usr/bin`.
    pub(super) programs: Vec<String>,
}

impl Image {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// It has no entry point.
    pub(super) fn read(dockerfile: &str, version: &str) -> Result<Image, String> {
        let mut image = Image {
            reference: format!("{REPOSITORY}:{version}"),
            entrypoint: Vec::new(),
            env: BTreeMap::new(),
            programs: Vec::new(),
        };
        for line in dockerfile.lines() {
            if let Some((name, value)) = line.strip_prefix("ENV ").and_then(|rest| rest.split_once('=')) {
                image.env.insert(name.to_owned(), value.trim_matches('"').to_owned());
            } else if let Some(list) = line.strip_prefix("ENTRYPOINT ") {
                image.entrypoint = serde_json::from_str(list).map_err(|e| format!("ENTRYPOINT: {e}"))?;
            } else if line.contains("ln -s ") {
                image.programs.extend(line.rsplit('/').next().map(|name| name.trim().to_owned()));
            }
        }
        let program = image.entrypoint.first().ok_or("the Dockerfile has no ENTRYPOINT")?;
        image.programs.extend(program.rsplit('/').next().map(str::to_owned));
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_tells_programs_and_environment() {
        let text =
            "FROM x\nENV PATH=/usr/bin\n    && ln -s p /rootfs/usr/bin/q \nENTRYPOINT [\"/usr/bin/p\"]\n";
        let image = Image::read(text, "1").unwrap();
        assert_eq!(image.reference, "tandem/device-plugin:1");
        assert_eq!(image.programs, ["q", "p"]);
        assert_eq!(image.env["PATH"], "/usr/bin");
        assert!(Image::read("FROM x\n", "1").is_err());
    }
}
