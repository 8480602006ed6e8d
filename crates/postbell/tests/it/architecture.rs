//! The dependencies between the workspace's crates, as ARCHITECTURE.md describes them.

use std::process::Command;

use serde_json::Value;

/// Used by all parts.
const FOUNDATION: [&str; 5] = [
    "postbell-alerts",
    "postbell-core",
    "postbell-google",
    "postbell-http",
    "postbell-protocol",
];

/// The crates of the workspace that a crate may depend on, besides its dev-dependencies. `None`: any
/// but the testkit, which only the fuzz targets use otherwise.
fn allowed(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "postbell" | "postbell-bench" | "postbell-fuzz" => None,
        // Stand-ins for other people's servers: they must not share our types.
        "postbell-sandbox" | "postbell-core" => Some(&[]),
        "postbell-http" | "postbell-protocol" | "postbell-testkit" => Some(&["postbell-core"]),
        "postbell-store" => Some(&["postbell-core", "postbell-protocol"]),
        "postbell-alerts" | "postbell-google" | "postbell-controller" => {
            Some(&["postbell-core", "postbell-http", "postbell-protocol"])
        }
        "postbell-telemetry" => Some(&["postbell-core", "postbell-http"]),
        "postbell-mail" => Some(&["postbell-google", "postbell-protocol"]),
        "postbell-watcher" => Some(&[
            "postbell-alerts",
            "postbell-core",
            "postbell-google",
            "postbell-http",
            "postbell-mail",
            "postbell-protocol",
        ]),
        // Parts do not depend on each other.
        _ => Some(&FOUNDATION),
    }
}

#[test]
fn crates_depend_only_on_the_layers_below() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            let is_ours = other == "postbell" || other.starts_with("postbell-");
            let is_allowed = match allowed(name) {
                None => other != "postbell-testkit" || name == "postbell-fuzz",
                Some(allowed) => allowed.contains(&other),
            };
            if is_ours && dependency["kind"] != "dev" && !is_allowed {
                wrong.push(format!("{name} → {other}"));
            }
        }
    }
    assert!(packages.len() > 10);
    assert!(wrong.is_empty(), "{wrong:?}: see ARCHITECTURE.md");
}
