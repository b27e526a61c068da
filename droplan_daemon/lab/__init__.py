"""An emulated DigitalOcean, and a fleet of network namespaces.

    world = World()
    vpc = world.add_vpc("lab", region="nyc3", ip_range="10.10.0.0/20")
    web = world.add_droplet("web-1", vpc=vpc.id, tags=("web",))
    cloud = DigitalOcean(world)                      # an Application: answer(Request) -> Response
    async with LabServer(cloud) as server:           # or: with serving(server): … in plain code
        ...                                          # server.url, cloud.token, server.log
        cloud.faults.add(Fault(Status(502), page=2, times=1))
        world.destroy_droplet(web.id)

Rooms, each knowing only those before it: `catalogue`, `account`, `allocation`, `world` (what
exists) / `delivery`, `messages` (the wire, as values) / `scopes`, `limits`, `rendering`,
`problems`, `listing`, `creation`, `api` (what DigitalOcean answers) / `faults`,
`control`, `digitalocean`, `metadata` (Applications) / `server`, `authority` (sockets and TLS) /
`netns`, `topology`, `wiring`, `tutorial` (machines on wires) / `talk`, `probe`, `reach`, `table` (who
reaches whom) / `site`, `daemons` (a protected fleet) / `demo`, `up`, `running`, `cli` (commands).

Law: nothing outside `cli` imports the lab; of the daemon it uses the errors and the settings'
reading of the environment, and otherwise runs it as a program.
"""
