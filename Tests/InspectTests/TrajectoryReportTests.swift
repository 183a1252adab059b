import Formats
import Foundation
import Inspect
import Reports
import Storage
import Testing

/// Checkpoints of one training run by step.
@Suite struct TrajectoryReportTests {
  private func archive(_ diagonal: [Float], step: Int? = nil) throws -> TensorArchive {
    var archive = TensorArchive([
      "a.weight": try .diagonal(diagonal, rows: 2, columns: 2),
      "b.weight": try .diagonal([1, 1], rows: 2, columns: 2),
    ])
    if let step { archive.values["trainer.global_step"] = .integer(step) }
    return archive
  }

  private func steps(_ files: String..., counters: [Int?] = []) throws -> [Int] {
    let checkpoints = try files.enumerated().map { index, file in
      (file: file, archive: try archive([1, 1], step: counters.isEmpty ? nil : counters[index]))
    }
    return TrajectoryReport.steps(of: checkpoints).map(\.number)
  }

  @Test func stepsAreCountersThenNumbersInPathsThenPlaces() throws {
    #expect(try steps("b", "a", counters: [20, 10]) == [20, 10])
    #expect(try steps("run1/step_100.pth", "run1/step_90.pth") == [100, 90])
    #expect(
      try steps("run1/checkpoint-500/model.pth", "run1/checkpoint-1000/model.pth") == [500, 1000])
    // A file without a counter, and numbers that do not tell files apart.
    #expect(try steps("x.pth", "y.pth", counters: [1, nil]) == [1, 2])
    #expect(try steps("a/v2.pth", "b/v2.pth") == [1, 2])
    #expect(try steps("s_99999999999999999999.pth", "s_1.pth") == [1, 2])
  }

  @Test(arguments: [-1, Int.min, 1 << 53, Int.max])
  func countersThatNoPlotCanPlaceAreNoSteps(_ counter: Int) throws {
    #expect(try steps("b_7.pth", "a_3.pth", counters: [counter, 5]) == [7, 3])
    #expect(try steps("b_7.pth", "a_3.pth", counters: [(1 << 53) - 1, 5]) == [(1 << 53) - 1, 5])
  }

  /// Names that mean something to a terminal or a browser, and infinite numbers.
  @Test func hostileNamesAreEscaped() throws {
    let names = ["<script>alert(1)</script>", "&lt;b&gt;", "a\u{1B}[2J\nb"]
    let models = try names.indices.map { index in
      var archive = TensorArchive()
      for name in names {
        archive.tensors[name] = try .diagonal([1, Float(index)], rows: 2, columns: 2)
      }
      return try ModelReport(archive: archive, file: names[index])
    }
    let report = TrajectoryReport(
      models, steps: TrajectoryReport.steps(of: models.map { ($0.file, TensorArchive()) }))
    #expect(report.steps.map(\.number) == [1, 2, 3])
    #expect(report.layers.map(\.conditionNumbers) == .init(repeating: [.infinity, 1, 2], count: 3))
    for format in ReportFormat.allCases {
      let text = try report.rendered(as: format)
      #expect(!text.contains("\u{1B}"), "\(format)")
      if format == .html { #expect(!text.contains("<script>alert")) }
    }
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(TrajectoryReport.self, from: json) == report)
  }

  @Test func layersAreFollowedInOrderOfSteps() throws {
    let models = try [[8, 1], [2, 1], [4, 1]].map { diagonal in
      try ModelReport(archive: archive(diagonal.map { Float($0) }), file: "\(diagonal[0])")
    }
    let report = TrajectoryReport(
      models,
      steps: [
        .init(number: 30, file: "8"), .init(number: 10, file: "2"), .init(number: 20, file: "4"),
      ])
    #expect(report.steps.map(\.number) == [10, 20, 30])
    #expect(report.layers.map(\.name) == ["a.weight", "b.weight"])
    #expect(report.layers[0].conditionNumbers == [2, 4, 8])
    #expect(report.layers[0].conditionGrowth == 4)
    #expect(report.layers[1].conditionGrowth == 1)
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(TrajectoryReport.self, from: json) == report)
    let page = try report.rendered(as: .html)
    #expect(page.contains("Condition number by step") && page.contains("step 20: 4.000"))
    #expect(try report.rendered(as: .text).contains("step 10: 2"))
  }

  @Test func missingLayersAreNull() throws {
    var second = try archive([3, 1])
    second.tensors["b.weight"] = nil
    let models = try [archive([2, 1]), second].map { try ModelReport(archive: $0, file: "x") }
    let report = TrajectoryReport(
      models, steps: [.init(number: 1, file: "x"), .init(number: 2, file: "y")])
    #expect(report.layers.last?.conditionNumbers == [1, nil])
    #expect(report.layers.last?.conditionGrowth == nil)
    #expect(try report.rendered(as: .json).contains("null"))
  }
}
