fn main() -> std::process::ExitCode {
    pgbalancer::bctl_main()
}
