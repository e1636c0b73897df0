import ArgumentParser
import Jobs

/// What `vintner serve` keeps of jobs that are over.
struct RetentionOptions: ParsableArguments {
    @Option(help: "Delete jobs that ended longer ago, in days; their models stay. By default they stay too.")
    var keepJobsDays: Int?
    @Option(help: "Of the jobs that ended, keep no more than the last so many; their models stay.")
    var keepJobs: Int?
    @Option(help: "Thin the curves of jobs that ended longer ago, in days, to 1000 points each.")
    var keepPointsDays: Int?

    func validate() throws {
        for (name, value, least) in [
            ("--keep-jobs-days", keepJobsDays, 1), ("--keep-jobs", keepJobs, 0),
            ("--keep-points-days", keepPointsDays, 1),
        ] {
            guard let value, !(least...1_000_000).contains(value) else { continue }
            throw ValidationError("\(name) is a number from \(least) to 1000000, not \(value).")
        }
    }

    var policy: RetentionPolicy {
        var policy = RetentionPolicy()
        (policy.jobDays, policy.jobCount, policy.pointDays) = (keepJobsDays, keepJobs, keepPointsDays)
        return policy
    }
}
