//! The closed list of resources this API server knows, so that paths, discovery, validation and
//! printing cannot disagree about one.

/// A resource: what a path such as `/api/v1/pods` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `namespaces` (v1), not namespaced.
    Namespaces,
    /// `nodes` (v1), not namespaced.
    Nodes,
    /// `pods` (v1).
    Pods,
    /// `events` (v1).
    Events,
    /// `configmaps` (v1).
    ConfigMaps,
    /// `serviceaccounts` (v1).
    ServiceAccounts,
    /// `daemonsets` (apps/v1).
    DaemonSets,
    /// `deployments` (apps/v1).
    Deployments,
    /// `leases` (coordination.k8s.io/v1).
    Leases,
    /// `runtimeclasses` (node.k8s.io/v1), not namespaced.
    RuntimeClasses,
    /// `clusterroles` (rbac.authorization.k8s.io/v1), not namespaced; see [`super::rbac`] for what roles do.
    ClusterRoles,
    /// `clusterrolebindings` (rbac.authorization.k8s.io/v1), not namespaced.
    ClusterRoleBindings,
    /// `roles` (rbac.authorization.k8s.io/v1).
    Roles,
    /// `rolebindings` (rbac.authorization.k8s.io/v1).
    RoleBindings,
    /// `validatingadmissionpolicies` (admissionregistration.k8s.io/v1), not namespaced; see [`super::admission`].
    ValidatingAdmissionPolicies,
    /// `validatingadmissionpolicybindings` (admissionregistration.k8s.io/v1), not namespaced.
    ValidatingAdmissionPolicyBindings,
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

struct Facts {
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    has_status: bool,
}

const fn facts(
    group: &'static str,
    names: (&'static str, &'static str, &'static str),
    short: &'static [&'static str],
    namespaced: bool,
    has_status: bool,
) -> Facts {
    Facts { group, plural: names.0, singular: names.1, kind: names.2, short, namespaced, has_status }
}

impl Resource {
    /// Every resource, in the order discovery lists them.
    pub const ALL: [Resource; 16] = [
        Resource::Namespaces,
        Resource::Nodes,
        Resource::Pods,
        Resource::Events,
        Resource::ConfigMaps,
        Resource::ServiceAccounts,
        Resource::DaemonSets,
        Resource::Deployments,
        Resource::Leases,
        Resource::RuntimeClasses,
        Resource::ClusterRoles,
        Resource::ClusterRoleBindings,
        Resource::Roles,
        Resource::RoleBindings,
        Resource::ValidatingAdmissionPolicies,
        Resource::ValidatingAdmissionPolicyBindings,
    ];

    const fn facts(self) -> Facts {
        match self {
            Resource::Namespaces => facts("", ("namespaces", "namespace", "Namespace"), &["ns"], false, true),
            Resource::Nodes => facts("", ("nodes", "node", "Node"), &["no"], false, true),
            Resource::Pods => facts("", ("pods", "pod", "Pod"), &["po"], true, true),
            Resource::Events => facts("", ("events", "event", "Event"), &["ev"], true, false),
            Resource::ConfigMaps => facts("", ("configmaps", "configmap", "ConfigMap"), &["cm"], true, false),
            Resource::ServiceAccounts => {
                facts("", ("serviceaccounts", "serviceaccount", "ServiceAccount"), &["sa"], true, false)
            }
            Resource::DaemonSets => {
                facts("apps", ("daemonsets", "daemonset", "DaemonSet"), &["ds"], true, true)
            }
            Resource::Deployments => {
                facts("apps", ("deployments", "deployment", "Deployment"), &["deploy"], true, true)
            }
            Resource::Leases => facts("coordination.k8s.io", ("leases", "lease", "Lease"), &[], true, false),
            Resource::RuntimeClasses => {
                facts("node.k8s.io", ("runtimeclasses", "runtimeclass", "RuntimeClass"), &[], false, false)
            }
            Resource::ClusterRoles => {
                facts(RBAC, ("clusterroles", "clusterrole", "ClusterRole"), &[], false, false)
            }
            Resource::ClusterRoleBindings => {
                let names = ("clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding");
                facts(RBAC, names, &[], false, false)
            }
            Resource::Roles => facts(RBAC, ("roles", "role", "Role"), &[], true, false),
            Resource::RoleBindings => {
                facts(RBAC, ("rolebindings", "rolebinding", "RoleBinding"), &[], true, false)
            }
            Resource::ValidatingAdmissionPolicies => {
                let names =
                    ("validatingadmissionpolicies", "validatingadmissionpolicy", "ValidatingAdmissionPolicy");
                facts(ADMISSION, names, &[], false, true)
            }
            Resource::ValidatingAdmissionPolicyBindings => {
                let names = (
                    "validatingadmissionpolicybindings",
                    "validatingadmissionpolicybinding",
                    "ValidatingAdmissionPolicyBinding",
                );
                facts(ADMISSION, names, &[], false, false)
            }
        }
    }

    /// The resource that a path names, if this server has it. Every version here is `v1`.
    pub fn find(group: &str, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|r| r.group() == group && r.plural() == plural)
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        self.facts().group
    }

    /// The name in paths, such as `pods`.
    pub const fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// The singular name, such as `pod`.
    pub const fn singular(self) -> &'static str {
        self.facts().singular
    }

    /// The object's `kind`, such as `Pod`.
    pub const fn kind(self) -> &'static str {
        self.facts().kind
    }

    /// The short names kubectl accepts, such as `po`.
    pub const fn short_names(self) -> &'static [&'static str] {
        self.facts().short
    }

    /// True when objects live in a namespace.
    pub const fn namespaced(self) -> bool {
        self.facts().namespaced
    }

    /// True when `status` is written only through the `status` subresource.
    pub const fn has_status(self) -> bool {
        self.facts().has_status
    }

    /// The objects' `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_string(),
            group => format!("{group}/v1"),
        }
    }

    /// `pods`, `deployments.apps`: how errors name the resource.
    pub fn qualified(self) -> String {
        with_group(self.plural(), self.group())
    }

    /// `Pod`, `Deployment.apps`: how errors name the kind.
    pub fn qualified_kind(self) -> String {
        with_group(self.kind(), self.group())
    }
}

/// `pods`, `deployments.apps`: a name with its group.
pub(super) fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_string() } else { format!("{name}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_found_by_its_own_path() {
        for resource in Resource::ALL {
            assert_eq!(Resource::find(resource.group(), resource.plural()), Some(resource));
        }
        assert_eq!(Resource::find("apps", "pods"), None);
    }
}
