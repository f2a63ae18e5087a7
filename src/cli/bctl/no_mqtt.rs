//! In a program that was built without the client library of MQTT.
#![forbid(unsafe_code)]

use super::args::Broker;
use super::failure::Failure;
use super::output::Output;
use super::settings::Settings;

fn missing() -> Result<(), Failure> {
    Err(Failure::Local("this program was built without the feature mqtt".to_owned()))
}

pub(super) fn subscribe(_: &Settings, _: Output, _: &Broker, _: &str) -> Result<(), Failure> {
    missing()
}

pub(super) fn monitor(_: &Settings, _: Output, _: &Broker) -> Result<(), Failure> {
    missing()
}

pub(super) fn publish(_: &Settings, _: Output, _: &Broker, _: &str, _: &str, _: bool) -> Result<(), Failure> {
    missing()
}
