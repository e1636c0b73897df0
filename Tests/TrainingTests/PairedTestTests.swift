import Testing

@testable import Training

/// Expected values are of SciPy 1.17.1: `scipy.stats.ttest_rel`, `scipy.stats.t.sf`.
@Suite("The paired test") struct PairedTestTests {
    @Test(
        "has Student's distribution",
        arguments: [
            (0.0, 3.0, 1.0),
            (0.5, 1.0, 0.7048327646991335),
            (2.776, 4.0, 0.05002277831997642),
            (12.706, 1.0, 0.05000080235813319),
            (1.0, 2.0, 0.4226497308103742),
            (8.61, 4.0, 0.001000134123827867),
            (3.2, 31.0, 0.0031648447060172256),
            (40.0, 4.0, 2.3340163226012678e-06),
        ])
    func distribution(t: Double, degrees: Double, expected: Double) {
        let found = PairedTest.twoSided(t: t, degrees: degrees)
        #expect(abs(found - expected) <= 1e-12 * max(expected, 1e-3), "\(found)")
        #expect(PairedTest.twoSided(t: -t, degrees: degrees) == found)
    }

    @Test("calls a steady gain better, and a loss or nothing no better")
    func verdicts() throws {
        let distilled = [0.912, 0.915, 0.911, 0.917, 0.914]
        let control = [0.905, 0.909, 0.907, 0.908, 0.909]
        let gain = PairedTest(distilled, against: control)
        #expect(gain.verdict == .better)
        #expect(abs(gain.meanGain - 0.0062) < 1e-12)
        #expect(abs(try #require(gain.pValue) - 0.001964580114585923) < 1e-12)
        let loss = PairedTest(control, against: distilled)
        #expect(loss.verdict == .noBetter && loss.pValue == gain.pValue)
        #expect(PairedTest(control, against: control).verdict == .noBetter)
        #expect(PairedTest(control, against: control).pValue == 1)
    }

    @Test("does not decide by noise, nor by one pair")
    func undecided() {
        let one = PairedTest([0.9], against: [0.8])
        #expect(one.verdict == .inconclusive && one.pValue == nil)
        #expect(PairedTest([0.91, 0.90, 0.93], against: [0.90, 0.91, 0.90]).verdict == .inconclusive)
    }

    @Test("takes gains that are all the same for certain")
    func constant() {
        let test = PairedTest([0.5, 0.7, 0.9], against: [0.25, 0.45, 0.65])
        #expect(test.pValue == 0 && test.verdict == .better)
    }
}
