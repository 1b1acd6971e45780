use keepgate_credential::Secret;

fn main() {
    let secret = Secret::new(b"hidden".to_vec());
    let _ = format!("{secret:?}");
}
