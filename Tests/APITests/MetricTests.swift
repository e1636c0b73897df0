import Testing

@testable import API

@Suite("Figures for Prometheus") struct MetricTests {
    @Test("escape what would end a label or a line, and know infinities")
    func escapes() {
        var metric = Metric("odd", .gauge, "One \\ line\nonly, with \"quotes\".")
        metric.add(-.infinity, [("a", "x\"y\\z\nw"), ("b", "")])
        metric.add(.nan)
        metric.add(0.5, [("c", "1")])
        #expect(
            metric.text == """
                # HELP odd One \\\\ line\\nonly, with "quotes".
                # TYPE odd gauge
                odd{a="x\\"y\\\\z\\nw",b=""} -Inf
                odd NaN
                odd{c="1"} 0.5

                """)
    }

    @Test("of a histogram are cumulative, and end with all of them")
    func histogram() {
        var metric = Metric("time_seconds", .histogram, "How long.")
        metric.add(counts: [1, 0, 4], bounds: [0.25, 1], sum: 12.5)
        #expect(
            metric.text == """
                # HELP time_seconds How long.
                # TYPE time_seconds histogram
                time_seconds_bucket{le="0.25"} 1
                time_seconds_bucket{le="1"} 1
                time_seconds_bucket{le="+Inf"} 5
                time_seconds_sum 12.5
                time_seconds_count 5

                """)
    }

    @Test("without values leave no heading")
    func nothing() {
        #expect(Metric("none", .counter, "Nothing.").text.isEmpty)
    }
}
