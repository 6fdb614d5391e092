//! The pods of a made-up story: what their containers ask for, and the Kubernetes manifest of that.

use serde_json::{Value, json};

use super::label::GroupName;
use super::story::Profile;

/// A pod and what its containers ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its containers, one at least.
    pub containers: Vec<Ask>,
}

/// What one container asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// It is an init container.
    pub init: bool,
    /// Of what.
    pub of: Resource,
    /// How many.
    pub count: u32,
}

/// An extended resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `nvidia.com/gpu`.
    Gpu,
    /// `nvidia.com/gpu.shared`.
    Shared,
    /// That of a group.
    Group(GroupName),
    /// `nvidia.com/mig-<profile>`.
    Part(Profile),
    /// `nvidia.com/mig-<profile>.shared`.
    SharedPart(Profile),
}

impl Resource {
    /// Its name.
    pub fn name(self) -> String {
        match self {
            Resource::Gpu => "nvidia.com/gpu".to_owned(),
            Resource::Shared => "nvidia.com/gpu.shared".to_owned(),
            Resource::Group(name) => name.resource().to_owned(),
            Resource::Part(profile) => format!("nvidia.com/mig-{}", profile.name()),
            Resource::SharedPart(profile) => format!("nvidia.com/mig-{}.shared", profile.name()),
        }
    }
}

impl Pod {
    /// The Kubernetes manifest.
    pub fn manifest(&self) -> Value {
        let list = |init: bool| {
            let chosen = self.containers.iter().filter(|ask| ask.init == init);
            let containers = chosen.enumerate().map(|(index, ask)| {
                let word = if init { "init" } else { "main" };
                let limits = json!({ (ask.of.name()): ask.count });
                json!({"name": format!("{word}-{index}"), "image": "cuda:13", "resources": {"limits": limits}})
            });
            containers.collect::<Vec<_>>()
        };
        let mut spec = json!({"containers": list(false)});
        if self.containers.iter().any(|ask| ask.init) {
            spec["initContainers"] = Value::from(list(true));
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec})
    }
}
