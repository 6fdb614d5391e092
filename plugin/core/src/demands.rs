//! What the registration machines ask for, as actions of the shell.

use crate::action::Action;
use crate::config::ResourceName;
use crate::plugin::Plugin;
use crate::registration::{Demand, Input};

impl Plugin {
    pub(crate) fn registration(&mut self, resource: &ResourceName, input: Input) {
        let now = self.now;
        let Some(registration) = self.registrations.get_mut(resource) else {
            return;
        };
        let demand = registration.on(now, input);
        self.demanded(resource, demand);
    }

    /// What the shell told of the socket of an attempt.
    pub(crate) fn socket(&mut self, resource: &ResourceName, attempt: u64, input: Input) {
        let now = self.now;
        let Some(registration) = self.registrations.get_mut(resource) else {
            return;
        };
        let demand = registration.on_socket(now, attempt, input);
        self.demanded(resource, demand);
    }

    fn demanded(&mut self, resource: &ResourceName, demand: Option<Demand>) {
        let (Some(demand), Some(registration)) = (demand, self.registrations.get(resource)) else {
            return;
        };
        self.change.all = true;
        let (endpoint, attempt) = (registration.endpoint(), registration.attempt());
        let resource = resource.clone();
        self.act(match demand {
            Demand::Listen => Action::Listen { resource, endpoint, attempt },
            Demand::Register => Action::Register { resource, endpoint, attempt },
            Demand::Close => Action::Close { resource },
        });
    }
}
