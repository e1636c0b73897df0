/// Whose values lie in the bytes that all plans of a program share.
///
/// What a plan has prepared from the parameters holds until another plan runs or a parameter is written.
/// Belongs to the program's thread.
final class ArenaTenancy {
    private var tenant: ObjectIdentifier?

    /// Whether what a plan has prepared is still there, and follows from the parameters as they are.
    func isHeld(by plan: ExecutionPlan) -> Bool { tenant == ObjectIdentifier(plan) }

    /// Notes that a plan has the arena now.
    func pass(to plan: ExecutionPlan) { tenant = ObjectIdentifier(plan) }

    /// Notes that parameters have been written.
    func end() { tenant = nil }
}
