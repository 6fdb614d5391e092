//! Decides: what a GPU node offers and who may have it.
//!
//! This crate cannot do IO, read a clock, start a thread or draw a random number. What happens reaches it as an
//! [`Event`](event::Event), what should be done leaves it as an [`Action`](action::Action), and the time arrives as an
//! argument. So a run is its events: written down by [`journal`], they replay to the same actions anywhere.
//!
//! Start with [`plugin::Plugin`]: `handle(now, event)`, `poll_action()`, `poll_timeout()`, `view()`.
//!
//! | question | module |
//! |---|---|
//! | What can happen, what can be asked for? | [`event`], [`action`] |
//! | What does the node have? | [`inventory`]; how close its GPUs are: [`links`]; parts of GPUs: [`mig`]; what can play a role: [`unit`] |
//! | Which configuration holds? | [`config`]; `choose` and `requested` for this node; [`last_good`] over restarts |
//! | What is kept about GPUs over restarts? | [`kept_gpus`] |
//! | What happens after an event? | `absorb` takes it in, `advance` decides what follows |
//! | Which GPU should play which role? | [`sharing`]; a role is in [`resources`] |
//! | Who holds a GPU now? | [`ownership`]; `checkpoint` and `pods` for what PodResources leaves out; [`ownership::processes`] for what no pod is |
//! | How does a GPU change its role? | [`switch`]; without refusing a pod that is on its way: [`bind_stop`], [`withdraw`]; what people see of it: [`drain`] |
//! | What does the kubelet see of it? | [`view`] (`publish`, `status`), [`registration`] |
//! | What does a container get? | [`allocate`], [`prefer`]; of memory: [`budget`] |
//! | What does the Node object say? | [`labels`], [`annotations`], [`taints`] |
//! | How do MPS control daemons live? | [`mps`]; when one is stopped and started anew: `renew` |
//! | What would a configuration do, and what would change? | [`effect`], [`migration`], [`board`] |

mod absorb;
pub mod action;
mod advance;
pub mod allocate;
pub mod annotations;
pub mod backoff;
pub mod bind_stop;
pub mod board;
mod bound_pod;
pub mod budget;
pub mod cdi;
mod change;
mod checkpoint;
mod choose;
pub mod config;
mod demands;
pub mod drain;
mod driver;
pub mod effect;
pub mod event;
mod gone;
mod holders_poll;
mod holding;
pub mod imex;
pub mod inventory;
pub mod journal;
pub mod kept_gpus;
mod kubelet_start;
mod label_patch;
pub mod labels;
pub mod last_good;
pub mod links;
pub mod mig;
pub mod migration;
pub mod mps;
pub mod ownership;
pub mod plugin;
mod pods;
pub mod prefer;
mod publish;
pub mod registration;
mod renew;
mod requested;
pub mod resources;
pub mod settings;
pub mod sharing;
mod status;
pub mod switch;
pub mod taints;
pub mod takeover;
pub mod time;
pub mod time_slice;
pub mod unit;
pub mod view;
mod wish;
pub mod withdraw;
