fn main() -> std::process::ExitCode {
    pgbalancer::main()
}
