//! A server in a container.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use super::Facts;

pub(super) type Container = ContainerAsync<GenericImage>;

/// How long a container may take to start, its image's download included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a container; with it the port of this machine that leads to the server, and how it was got.
pub(super) async fn start(facts: &Facts) -> Result<(Container, u16, String), String> {
    let docker = docker_client_instance().await.map_err(|e| format!("Docker is not there: {e}"))?;
    docker.ping().await.map_err(|e| format!("Docker does not answer: {e}"))?;
    let image = match env::var(facts.image_variable) {
        Ok(image) => image,
        Err(_) => {
            let [local, official] = facts.images;
            let is_here = docker.inspect_image(local).await.is_ok();
            if is_here { local } else { official }.to_owned()
        }
    };
    // What follows the last colon is the tag, unless it belongs to the registry's port.
    let (name, tag) =
        image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((&image, "latest"));
    let port = ContainerPort::Tcp(facts.port);
    let request = GenericImage::new(name, tag)
        .with_exposed_port(port)
        .with_wait_for(WaitFor::message_on_either_std(facts.ready))
        .with_startup_timeout(PATIENCE)
        .with_env_var("NAMESPACE", "features")
        .with_env_var("DEFAULT_TTL", "0")
        .with_host_config_modifier(move |config| {
            // Without this the port would be open to the network.
            let loopback =
                PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some("0".to_owned()) };
            config.publish_all_ports = Some(false);
            config.port_bindings = Some(HashMap::from([(port.to_string(), Some(vec![loopback]))]));
        });
    let failed = |e: &dyn std::fmt::Display| format!("no container of {image}: {e}");
    let container = tokio::time::timeout(PATIENCE, request.start())
        .await
        .map_err(|_| failed(&format!("it did not start within {PATIENCE:?}")))?
        .map_err(|e| failed(&e))?;
    let host_port = container.get_host_port_ipv4(port).await.map_err(|e| failed(&e))?;
    let how = format!("container {image}");
    Ok((container, host_port, how))
}

pub(super) async fn stop(container: Container) {
    // Nothing can be done about a container that will not go, and its drop tries again.
    let _ = container.rm().await;
}

/// Kills the server, and with it the container.
pub(super) async fn kill(container: &Container) -> Result<(), String> {
    container.stop_with_timeout(Some(0)).await.map_err(|e| format!("the container cannot be killed: {e}"))
}
