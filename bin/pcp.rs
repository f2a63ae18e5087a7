fn main() -> std::process::ExitCode {
    pgbalancer::pcp_main()
}
