//! How we come to the API server, and how we ask it for one thing.

use std::time::Duration;

use kube::api::GetParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::watching::DEADLINE;
use super::{Access, Error};

/// How long the network may take to connect us.
const CONNECT: Duration = Duration::from_secs(10);

/// Reads where the API server is and who we are. Does not ask it anything yet.
pub(super) async fn connect(access: &Access) -> Result<Client, Error> {
    let mut config = match access {
        Access::ServiceAccount => {
            Config::incluster().map_err(|source| Error::ServiceAccount { source: Box::new(source) })?
        }
        Access::Kubeconfig(file) => {
            let unusable = |source| Error::Kubeconfig { file: file.clone(), source: Box::new(source) };
            let kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?
        }
    };
    config.connect_timeout = Some(CONNECT);
    // We wait between questions ourselves, and say what went wrong while we do.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| Error::Client { source: Box::new(source) })
}

/// Reads the thing `name` at `path`; `asked` says in an error what was attempted.
pub(super) async fn get<T: DeserializeOwned>(
    client: &Client,
    asked: &'static str,
    path: &str,
    name: &str,
) -> Result<T, Error> {
    let request = Request::new(path).get(name, &GetParams::default());
    let request = request.map_err(|error| Error::of_call(asked, kube::Error::BuildRequest(error)))?;
    let text = timeout(DEADLINE, client.request_text(request)).await;
    let text = text.map_err(|_| Error::Deadline { asked, deadline: DEADLINE })?;
    let text = text.map_err(|error| Error::of_call(asked, error))?;
    serde_json::from_str(&text).map_err(|source| Error::Answer { asked, source })
}
