//! The contract as Rust: messages, and the client of the service.

include!("generated/thermograd/v1/thermograd.v1.rs");
