//! The plugin's own pods, as far as a story asks after them: whether they run, how often they started, what they say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Connection, Kind};
use super::settings::PodsAt;
use crate::on::StageError;

/// The port of the plugin's pages where its pod names none.
const ADMIN_PORT: u16 = 9410;
/// The name of that port.
const ADMIN_PORT_NAME: &str = "admin";

/// The pods of one DaemonSet.
#[derive(Debug)]
pub(super) struct DaemonPods {
    at: PodsAt,
    newest: BTreeMap<String, DaemonPod>,
    /// Node → pod's uid → starts that were there when it was first seen, and now.
    starts: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    looked: bool,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DaemonPod {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) running: bool,
    pub(super) ready: bool,
    port: u16,
    restarts: u64,
}

impl DaemonPods {
    pub(super) fn new(at: PodsAt) -> DaemonPods {
        DaemonPods { at, newest: BTreeMap::new(), starts: BTreeMap::new(), looked: false }
    }

    /// Where they are.
    pub(super) fn at(&self) -> &PodsAt {
        &self.at
    }

    /// Looks at all of them.
    pub(super) async fn look(&mut self, connection: &Connection) -> Result<(), StageError> {
        let pods = connection.list(Kind::Pod, Some(&self.at.namespace), &self.at.selector).await?;
        self.see(&pods);
        Ok(())
    }

    fn see(&mut self, pods: &[Value]) {
        self.newest.clear();
        for object in pods {
            let Some((node, pod)) = read(object) else { continue };
            let lives = self.starts.entry(node.clone()).or_default();
            // a pod that was there before the story has started once for it
            let before = if self.looked { 0 } else { pod.restarts };
            lives.entry(pod.uid.clone()).or_insert((before, pod.restarts)).1 = pod.restarts;
            let is_leaving = object.pointer("/metadata/deletionTimestamp").is_some();
            if !is_leaving {
                self.newest.insert(node, pod);
            }
        }
        self.looked = true;
    }

    /// The one on a Node, unless it is being deleted.
    pub(super) fn on(&self, node: &str) -> Option<&DaemonPod> {
        self.newest.get(node)
    }

    /// All of them with their Nodes.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &DaemonPod)> {
        self.newest.iter().map(|(node, pod)| (node.as_str(), pod))
    }

    /// How often the program was started on a Node, in the story's time.
    pub(super) fn starts(&self, node: &str) -> u64 {
        let lives = self.starts.get(node).into_iter().flatten();
        lives.map(|(_, (before, now))| 1 + now.saturating_sub(*before)).sum()
    }

    /// What the plugin on a Node says of itself.
    pub(super) async fn account(&self, connection: &Connection, node: &str) -> Result<Value, StageError> {
        match self.on(node) {
            Some(pod) => connection.page(&self.at.namespace, &pod.name, pod.port, "state").await,
            None => Ok(Value::Null),
        }
    }
}

fn read(object: &Value) -> Option<(String, DaemonPod)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let node = object.pointer("/spec/nodeName")?.as_str()?.to_owned();
    let first = object.pointer("/status/containerStatuses/0");
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let ports = object.pointer("/spec/containers/0/ports").and_then(Value::as_array).into_iter().flatten();
    let port =
        ports.filter(|port| port["name"] == ADMIN_PORT_NAME).find_map(|port| port["containerPort"].as_u64());
    let pod = DaemonPod {
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
        running: first.is_some_and(|status| status.pointer("/state/running").is_some()),
        ready: conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(ADMIN_PORT),
        restarts: first.and_then(|status| status["restartCount"].as_u64()).unwrap_or_default(),
    };
    Some((node, pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, restarts: u64, leaving: bool) -> Value {
        let mut pod = json!({
            "metadata": {"name": format!("plugin-{uid}"), "uid": uid},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "admin", "containerPort": 9999}]}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": restarts, "state": {"running": {}}}],
            },
        });
        if leaving {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod
    }

    #[test]
    fn starts_are_counted_from_the_storys_begin() {
        let mut pods = DaemonPods::new("a/b=c".parse().unwrap());
        assert_eq!(pods.starts("n"), 0);
        pods.see(&[pod("1", 7, false)]);
        assert_eq!((pods.starts("n"), pods.on("n").unwrap().port), (1, 9999));
        pods.see(&[pod("1", 8, false)]);
        assert_eq!(pods.starts("n"), 2);
        pods.see(&[pod("1", 8, true), pod("2", 0, false)]);
        assert_eq!((pods.starts("n"), pods.on("n").unwrap().name.as_str()), (3, "plugin-2"));
        pods.see(&[]);
        assert!(pods.on("n").is_none() && pods.starts("m") == 0);
    }

    #[test]
    fn a_pod_that_comes_during_the_story_has_started_as_often_as_it_says() {
        let mut pods = DaemonPods::new("a/b=c".parse().unwrap());
        pods.see(&[]);
        pods.see(&[pod("1", 2, false)]);
        assert_eq!(pods.starts("n"), 3);
    }
}
