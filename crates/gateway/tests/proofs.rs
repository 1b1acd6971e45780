//! The four proofs hold at compile time: what has not passed a gate cannot be made, and gates cannot change places.

#[test]
fn proofs_cannot_be_forged_or_skipped() {
    trybuild::TestCases::new().compile_fail("tests/proofs/*.rs");
}
