//! The checked-in Rust code is what `proto/` says.

use std::fs;
use std::path::Path;

#[test]
fn the_checked_in_code_is_what_the_protos_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::temp_dir().join(format!("tandem-api-{}", std::process::id()));
    fs::create_dir_all(&out).expect("temp dir");
    let protos = ["deviceplugin_v1beta1.proto", "podresources_v1.proto"];
    let set = protox::compile(protos.map(|p| root.join("proto").join(p)), [root.join("proto")])
        .expect("the protos compile");
    tonic_prost_build::configure().btree_map(".").out_dir(&out).compile_fds(set).expect("code is generated");
    for name in ["v1beta1.rs", "v1.rs"] {
        let made = fs::read_to_string(out.join(name)).expect("generated file");
        let kept_at = root.join("src/generated").join(name);
        if std::env::var_os("TANDEM_REGENERATE").is_some() {
            fs::write(&kept_at, &made).expect("write generated file");
        }
        let kept = fs::read_to_string(&kept_at).unwrap_or_default();
        assert!(
            kept == made,
            "src/generated/{name} is stale: run TANDEM_REGENERATE=1 cargo test -p plugin-api"
        );
    }
    fs::remove_dir_all(&out).expect("clean up");
}
