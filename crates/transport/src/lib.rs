//! Both ends of Streamable HTTP, and stdio child processes; bytes to messages; knows no policy.
