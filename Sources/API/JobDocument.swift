public import JSON
public import Jobs

extension Job {
    /// The job as clients see it, for commands that work without a server.
    public var document: JSONValue { JobResource(job: self).json }
}
