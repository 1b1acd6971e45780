//! What must not compile: ways by which a secret could leave by accident.

#[test]
fn proofs() {
    trybuild::TestCases::new().compile_fail("tests/proofs/*.rs");
}
