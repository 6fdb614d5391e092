//! From a file to a scenario, because untrusted text is bounded, parsed and checked in one place.

use std::io::Read;
use std::path::Path;

use super::check;
use super::decode::Reader;
use super::grammar::TOP;
use super::nodes::nodes;
use super::problem::{Place, Problem, Problems};
use super::schema::Scenario;
use super::steps;
use super::top::{configs, excuses, mps_args, plugin, stages, timers};
use super::variants::{Choice, Variant, substitute, variants};
use super::yaml::{self, FILE_BYTES_MAX, Node};

/// Why a scenario could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error("cannot read scenario `{file}`: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("scenario `{file}` is larger than {FILE_BYTES_MAX} bytes (FILE_BYTES_MAX)")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The text has mistakes.
    #[error("{0}")]
    Wrong(#[from] Problems),
}

/// Reads and checks a scenario file; its first variant if it has several.
///
/// # Errors
/// See [`ReadError`]; every mistake of the text is reported together.
pub fn read_file(path: &Path) -> Result<Scenario, ReadError> {
    let (file, text) = text_of(path)?;
    Ok(read_text(&file, &text)?)
}

/// Reads a scenario file, checks all its variants, and gives the chosen ones.
///
/// # Errors
/// See [`ReadError`].
pub fn read_chosen(path: &Path, choice: &Choice) -> Result<Vec<Scenario>, ReadError> {
    let (file, text) = text_of(path)?;
    let everything = Choice { variant: Some("*".to_owned()), label: None };
    let all = Source::parse(&file, &text)?.read(&everything)?;
    let chosen: Vec<Option<String>> = {
        let variants = Source::parse(&file, &text)?.variants;
        let chosen = choice.of(&variants).into_iter();
        chosen.map(|variant| variant.map(|variant| variant.name)).collect()
    };
    let wanted = all.into_iter().filter(|scenario| chosen.contains(&scenario.variant));
    Ok(wanted.filter(|scenario| choice.wants(&scenario.labels)).collect())
}

/// Reads and checks the text of a scenario; its first variant if it has several.
///
/// # Errors
/// Every mistake of the text.
pub fn read_text(file: &str, text: &str) -> Result<Scenario, Problems> {
    let mut scenarios = Source::parse(file, text)?.read(&Choice::default())?;
    scenarios.pop().ok_or_else(|| Problems(Vec::new()))
}

fn text_of(path: &Path) -> Result<(String, String), ReadError> {
    let file = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable { file: file.clone(), error };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { file });
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        let problem = Problem::new(&file, Place::START, "", "expected UTF-8 text", None);
        Problems(vec![problem])
    })?;
    Ok((file, text))
}

/// A parsed file, from which each variant is read.
struct Source<'s> {
    file: &'s str,
    root: Node,
    variants: Vec<Variant>,
}

impl<'s> Source<'s> {
    fn parse(file: &'s str, text: &str) -> Result<Source<'s>, Problems> {
        let root = yaml::parse(file, text).map_err(|problem| Problems(vec![problem]))?;
        let mut reader = Reader::new(file);
        let variants = variants(&mut reader, &root);
        let problems = reader.into_problems();
        match problems.is_empty() {
            true => Ok(Source { file, root, variants }),
            false => Err(Problems(problems)),
        }
    }

    /// The variants that are chosen, or the file itself if it has none; problems that several share are told once.
    fn read(&self, choice: &Choice) -> Result<Vec<Scenario>, Problems> {
        let mut scenarios = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        let chosen = match self.variants.is_empty() {
            true => vec![None],
            false => choice.of(&self.variants),
        };
        for variant in chosen {
            let mut reader = Reader::new(self.file);
            let mut root = self.root.clone();
            substitute(&mut reader, &mut root, variant.as_ref());
            let scenario = scenario(&mut reader, &root, variant);
            if let Some(scenario) = &scenario {
                check::check(&mut reader, scenario, &root);
            }
            let found = reader.into_problems();
            problems.extend(found.into_iter().filter(|found| !problems.contains(found)).collect::<Vec<_>>());
            scenarios.extend(scenario);
        }
        match problems.is_empty() {
            true => Ok(scenarios),
            false => Err(Problems(problems)),
        }
    }
}

fn scenario(reader: &mut Reader, root: &Node, variant: Option<Variant>) -> Option<Scenario> {
    let fields = reader.fields(root, "", TOP);
    let story = fields.need_text(reader, "story");
    let (stages, not_on) = stages(reader, &fields);
    let mut labels = fields.get("labels").map(|node| reader.texts(node, "labels")).unwrap_or_default();
    labels.extend(variant.iter().flat_map(|variant| variant.labels.clone()));
    let excuses = excuses(reader, &fields);
    let timers = timers(reader, &fields);
    let plugin = plugin(reader, &fields);
    let mps_args = mps_args(reader, &fields);
    let nodes = nodes(reader, &fields);
    let configs = configs(reader, &fields);
    let steps = fields.need(reader, "steps").map(|node| steps::steps(reader, node)).unwrap_or_default();
    let file = reader.file().to_owned();
    let name =
        Path::new(&file).file_stem().map_or_else(|| file.clone(), |s| s.to_string_lossy().into_owned());
    Some(Scenario {
        file,
        name,
        story: story?.trim().to_owned(),
        variant: variant.map(|variant| variant.name),
        stages,
        not_on,
        labels,
        excuses,
        timers,
        plugin,
        mps_args,
        nodes,
        configs,
        steps,
    })
}
