//! The API server: why the cluster's other parts, kubectl and the plugin under test can all speak Kubernetes to one place.
//!
//! * [`store`] holds the objects, `write` every way to change them; pure. [`object`], [`validate`], [`podspec`],
//!   [`names`], [`patch`], [`selector`] and [`watch`] are its parts.
//! * `route` reads a path, [`rest`] turns a request into an answer, `listing` those about many objects; pure. [`discovery`] and [`table`] are the answers that are not objects.
//! * [`server`] and [`stream`] move bytes; [`handle`] is the one shared place of the state.
//!
//! * [`identity`] says who asks by a bearer token, [`rbac`] what roles allow to a service account; `review` answers both, and `admission` asks
//!   the stored policies about their changes. A client without a
//!   token is the laboratory itself, and may do everything.
//!
//! Not here: users other than service accounts, field validation of unknown fields, field owners of server-side apply, list chunks
//! (`limit` is ignored), OpenAPI v2, protobuf but for the few
//! objects kubectl insists on ([`protobuf`]).

mod admission;
pub mod discovery;
pub mod error;
pub mod events;
pub mod handle;
pub mod identity;
pub mod kubeconfig;
mod listing;
pub mod names;
pub mod object;
pub mod patch;
pub mod podspec;
mod protobuf;
pub mod quantity;
pub mod rbac;
pub mod resource;
pub mod rest;
mod review;
mod route;
pub mod selector;
pub mod server;
pub mod store;
mod stream;
pub mod table;
pub mod timestamp;
pub mod validate;
pub mod watch;
mod write;

pub use error::ApiError;
pub use handle::ApiHandle;
pub use identity::Account;
pub use object::set_condition;
pub use patch::PatchKind;
pub use quantity::Quantity;
pub use resource::Resource;
pub use selector::Selector;
pub use server::{ApiServer, Faults};
pub use store::{DeleteOptions, Deleted, Key, Part, Store};
pub use timestamp::Timestamp;
