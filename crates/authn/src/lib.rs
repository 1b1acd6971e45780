//! Who is calling: API keys and the anonymous caller.
