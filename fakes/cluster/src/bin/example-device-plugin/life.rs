//! A plugin's life: it serves, registers, and looks out for what makes it do so again.

use std::path::PathBuf;
use std::time::Duration;

use plugin_api::KUBELET_SOCKET;
use plugin_api::deviceplugin::device_plugin_server::DevicePluginServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;

use super::arguments::Settings;
use super::behaviour::Way;
use super::service::Service;
use super::{devices, register};

/// How often sockets are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// First pause after a registration that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause before a lost stream is answered with a registration: the kubelet is still disconnecting.
const PAUSE_AFTER_LOSS: Duration = Duration::from_millis(200);

/// What makes a plugin act.
enum Happened {
    HangUp,
    /// The kubelet's socket is another one, or its own is gone.
    SocketsChanged,
    /// The kubelet has no stream open any more.
    StreamLost,
}

struct Life {
    settings: Settings,
    service: Service,
    hang_ups: Signal,
    /// Ends the server, when used or dropped.
    server: Option<oneshot::Sender<()>>,
    kubelet: Option<(u64, i64, i64)>,
    /// How many streams had been opened when the last registration began.
    opened: u64,
    /// It does not serve and does not care.
    is_done: bool,
}

/// Lives until SIGTERM.
pub(crate) async fn live(settings: Settings) -> Result<(), String> {
    let signals = |kind| signal(kind).map_err(|error| format!("cannot watch for signals: {error}"));
    let mut terminated = signals(SignalKind::terminate())?;
    let service = Service::new(&settings);
    let mut life = Life {
        settings,
        service,
        hang_ups: signals(SignalKind::hangup())?,
        server: None,
        kubelet: None,
        opened: 0,
        is_done: false,
    };
    tokio::select! {
        lived = life.go_on() => lived?,
        _ = terminated.recv() => {}
    }
    life.stop_serving();
    Ok(())
}

impl Life {
    /// Returns only when it cannot serve.
    async fn go_on(&mut self) -> Result<(), String> {
        self.serve()?;
        for _ in 0..self.settings.behaviour.number(Way::RegistersTimes).unwrap_or(1) {
            self.register().await?;
        }
        // ends with the process: each round waits for something to happen
        loop {
            match self.next().await {
                Happened::HangUp => self.hang_up().await?,
                Happened::SocketsChanged => {
                    self.serve()?;
                    self.register().await?;
                }
                Happened::StreamLost => {
                    tokio::time::sleep(PAUSE_AFTER_LOSS).await;
                    self.register().await?;
                }
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.settings.dir.join(&self.settings.socket)
    }

    fn kubelet_socket(&self) -> PathBuf {
        self.settings.dir.join(KUBELET_SOCKET)
    }

    /// Serves on a new socket in place of whatever is there.
    fn serve(&mut self) -> Result<(), String> {
        self.stop_serving();
        let socket = self.socket();
        let listener = UnixListener::bind(&socket)
            .map_err(|error| format!("cannot listen on socket `{}`: {error}", socket.display()))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tonic::transport::Server::builder()
            .add_service(DevicePluginServer::new(self.service.clone()))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
                // an error means that the sender is gone, which is an end as well
                let _ended = stopped.await;
            });
        tokio::spawn(server);
        self.server = Some(stop);
        Ok(())
    }

    fn stop_serving(&mut self) {
        self.service.cut_streams();
        self.server = None;
        // it may be gone already, swept by a starting kubelet
        let _absent = std::fs::remove_file(self.socket());
    }

    /// Registers, again and again until the kubelet agrees.
    async fn register(&mut self) -> Result<(), String> {
        let mut pause = PAUSE_FIRST;
        // ends when a kubelet answers: until then there is nothing else to do
        loop {
            if !self.settings.behaviour.has(Way::IgnoresKubeletRestart) && !self.socket().exists() {
                self.serve()?;
            }
            self.kubelet = register::identity(&self.kubelet_socket());
            self.opened = self.service.streams.borrow().opened;
            let Err(why) = register::call(&self.settings).await else {
                println!("registered {}", self.settings.resource);
                return Ok(());
            };
            println!("not registered: {why}");
            if self.settings.behaviour.has(Way::GivesUp) {
                self.is_done = true;
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn next(&mut self) -> Happened {
        let behaviour = &self.settings.behaviour;
        let minds_sockets = !self.is_done && !behaviour.has(Way::IgnoresKubeletRestart);
        let minds_streams = !self.is_done && !behaviour.has(Way::IgnoresLostStream);
        let (own, kubelets, known) = (self.socket(), self.kubelet_socket(), self.kubelet);
        let sockets_change = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let kubelet = register::identity(&kubelets);
                if !own.exists() || (kubelet.is_some() && kubelet != known) {
                    return;
                }
            }
        };
        let mut streams = self.service.streams.subscribe();
        let opened = self.opened;
        let stream_lost = async {
            // an error cannot be: this task holds the sender
            let _lost = streams.wait_for(|streams| streams.opened > opened && streams.open == 0).await;
        };
        tokio::select! {
            _ = self.hang_ups.recv() => Happened::HangUp,
            () = sockets_change, if minds_sockets => Happened::SocketsChanged,
            () = stream_lost, if minds_streams => Happened::StreamLost,
        }
    }

    async fn hang_up(&mut self) -> Result<(), String> {
        let behaviour = self.settings.behaviour.clone();
        let list = std::sync::Arc::clone(&self.service.list);
        if behaviour.has(Way::HupRemovesOne) {
            list.send_modify(|devices| drop(devices.pop()));
        } else if behaviour.has(Way::HupEndsStream) {
            self.service.cut_streams();
        } else if behaviour.has(Way::HupRegisters) {
            self.register().await?;
        } else if behaviour.has(Way::HupTakesOver) {
            self.serve()?;
            self.register().await?;
        } else if behaviour.has(Way::HupStopsServing) {
            self.stop_serving();
            self.is_done = true;
        } else if behaviour.has(Way::HupRenames) {
            self.stop_serving();
            self.settings.resource.push_str(".shared");
            self.service = Service::new(&self.settings);
            self.serve()?;
            self.register().await?;
        } else {
            list.send_modify(devices::retire_last);
        }
        Ok(())
    }
}
