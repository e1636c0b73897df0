import ArgumentParser
import Files

/// Who may be told of jobs by `vintner serve`.
struct WebhookOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A host that webhooks may be sent to, on the ports of http and https or on the one given; may be "
                + "repeated. Without any there are no webhooks.", valueName: "host[:port]"))
    var webhookHost: [WebhookHost] = []
    @Flag(help: "Let the names of --webhook-host stand for private addresses too.")
    var webhookPrivate = false
    @Option(help: "Certificates that webhooks must show to be trusted (PEM), instead of the system's.")
    var webhookCA: String?

    /// What sends; nil where no host is allowed.
    func sender() throws -> HTTPWebhookSender? {
        guard !webhookHost.isEmpty else { return nil }
        return HTTPWebhookSender(
            hosts: webhookHost, allowsPrivate: webhookPrivate,
            authority: try webhookCA.map { path in try readFile(path, limit: 1 << 20) })
    }
}
