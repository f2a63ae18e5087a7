fn main() -> std::process::ExitCode {
    pgbalancer::pg_enc_main()
}
