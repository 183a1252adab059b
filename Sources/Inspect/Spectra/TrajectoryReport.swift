import Formats
import Glibc
import Reports
import Storage

/// Checkpoints of one training run as a trajectory: condition numbers, norms and ranks by step.
///
/// ```swift
/// let models = try ["step_100.pth", "step_200.pth"].map { path in
///   try ModelReport(archive: FormatRegistry.standard.open(path), file: path)
/// }
/// let steps = models.map { TrajectoryReport.Step(number: 0, file: $0.file) }
/// print(try TrajectoryReport(models, steps: steps).rendered(as: .html))
/// ```
public struct TrajectoryReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/trajectory-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The checkpoints, in order of their steps.
  public var steps: [Step]
  /// The matrices of any checkpoint; those whose condition number changes most come first.
  public var layers: [Layer]

  /// A checkpoint.
  public struct Step: Codable, Hashable, Sendable {
    /// The step of training, or the place among the checkpoints, from 1.
    public var number: Int
    /// The path as the user gave it.
    public var file: String

    public init(number: Int, file: String) {
      self.number = number
      self.file = file
    }
  }

  /// A matrix over all steps; `nil` where a checkpoint does not have it or has no such number.
  public struct Layer: Codable, Hashable, Sendable {
    /// The name, with the part of a fused matrix.
    public var name: String
    /// The condition number at each step.
    public var conditionNumbers: [Double?]
    /// The Frobenius norm at each step.
    public var frobeniusNorms: [Double?]
    /// The effective rank at each step.
    public var effectiveRanks: [Double?]
    /// The stable rank at each step.
    public var stableRanks: [Double?]
    /// The last condition number over the first; infinite or 0 if one of them is infinite, `nil` if
    /// one is missing or both are infinite.
    public var conditionGrowth: Double?
  }

  /// Creates the trajectory of reports, in the order of their steps.
  ///
  /// - Precondition: There is one step per model.
  public init(_ models: [ModelReport], steps: [Step]) {
    precondition(models.count == steps.count, "one step per model")
    let order = steps.indices.sorted { (steps[$0].number, $0) < (steps[$1].number, $1) }
    self.steps = order.map { steps[$0] }
    let byName = order.map { index in
      Dictionary(models[index].layers.map { ($0.title, $0) }) { first, _ in first }
    }
    var names: [String] = []
    var seen: Set<String> = []
    for model in order.map({ models[$0] }) {
      for layer in model.layersInFileOrder
      where layer.conditionNumber != nil && seen.insert(layer.title).inserted {
        names.append(layer.title)
      }
    }
    let layers = names.map { name in
      func values(_ value: (LayerReport) -> Double?) -> [Double?] {
        byName.map { $0[name].flatMap(value) }
      }
      let conditions = values { $0.conditionNumber }
      var growth: Double?
      if let first = conditions.first ?? nil, let last = conditions.last ?? nil {
        growth = first.isInfinite && last.isInfinite ? nil : last / first
      }
      return Layer(
        name: name, conditionNumbers: conditions, frobeniusNorms: values { $0.frobeniusNorm },
        effectiveRanks: values { $0.effectiveRank }, stableRanks: values { $0.stableRank },
        conditionGrowth: growth)
    }
    self.layers = layers.enumerated().sorted { left, right in
      let (x, y) = (left.element.change, right.element.change)
      return x == y ? left.offset < right.offset : x > y
    }.map(\.element)
  }
}

extension TrajectoryReport.Layer {
  /// How much the condition number changes, whatever the direction; −1 if that is not known.
  fileprivate var change: Double { conditionGrowth.map { abs(log($0)) } ?? -1 }
}

extension TrajectoryReport {
  /// The last parts of names under which training tools keep the number of steps.
  private static let counters = [
    "global_step", "step", "steps", "iteration", "iter", "num_updates", "epoch",
  ]

  /// Returns the steps of checkpoints: by a counter that all of them hold, or else by the last
  /// number in their paths; by their order if neither tells them apart.
  package static func steps(
    of checkpoints: [(file: String, archive: TensorArchive)]
  ) -> [Step] {
    func distinct(_ numbers: [Int?]) -> [Int]? {
      let found = numbers.compactMap { $0 }
      return found.count == numbers.count && Set(found).count == found.count ? found : nil
    }
    let files = checkpoints.map(\.file)
    let counted = counters.lazy.compactMap { counter in
      distinct(checkpoints.map { self.counter(counter, in: $0.archive) })
    }.first
    // Of 'run1/checkpoint-500/model.pth' the last part with a number that tells files apart counts.
    let parts = files.map { $0.split(separator: "/").reversed() as [Substring] }
    let depth = parts.map(\.count).min() ?? 0
    let named = (0..<depth).lazy.compactMap { level in
      distinct(parts.map { lastNumber(in: $0[level]) })
    }.first
    let numbers = counted ?? named ?? Array(1...max(1, files.count))
    return zip(numbers, files).map { Step(number: $0, file: $1) }
  }

  private static func counter(_ name: String, in archive: TensorArchive) -> Int? {
    for (key, value) in archive.values {
      guard key == name || key.hasSuffix(".\(name)") else { continue }
      if case .integer(let step) = value, (0..<stepLimit).contains(step) { return step }
    }
    return nil
  }

  /// Steps are below this: a plot has to place them.
  private static let stepLimit = 1 << 53

  /// Returns the last run of digits, if it is a step.
  private static func lastNumber(in text: Substring) -> Int? {
    let stem = text.lastIndex(of: ".").map { text[..<$0] } ?? text
    let digits = stem.split { !("0"..."9").contains($0) }.last
    return digits.flatMap { Int($0) }.flatMap { $0 < stepLimit ? $0 : nil }
  }
}

extension TrajectoryReport: DocumentedReport {
  package var document: ReportDocument {
    let columns: [ReportTable.Column] = [
      .init(key: "name", heading: "tensor", kind: .text),
      column(.condition, "first", "conditionFirst"), column(.condition, "last", "conditionLast"),
      .init(
        key: "conditionGrowth", heading: "κ last / first", kind: .real,
        explanation: "The last condition number over the first."),
      column(.frobenius, "first", "normFirst"), column(.frobenius, "last", "normLast"),
      column(.effectiveRank, "first", "effectiveRankFirst"),
      column(.effectiveRank, "last", "effectiveRankLast"),
    ]
    return ReportDocument(
      title: "Trajectory of \(counted(steps.count, "checkpoint"))",
      summary: steps.prefix(1).map { .init("first", "step \($0.number): \($0.file)") }
        + steps.suffix(1).map { .init("last", "step \($0.number): \($0.file)") } + [
          .init("matrices", .integer(layers.count), kind: .integer)
        ],
      tables: [
        ReportTable(
          title: "Matrices, those whose condition number changes most first", columns: columns,
          rows: layers.map { layer in
            func ends(_ values: [Double?]) -> [ReportCell] {
              [ReportCell(values.first ?? nil), ReportCell(values.last ?? nil)]
            }
            return [.text(layer.name)] + ends(layer.conditionNumbers)
              + [ReportCell(layer.conditionGrowth)] + ends(layer.frobeniusNorms)
              + ends(layer.effectiveRanks)
          }), stepTable,
      ],
      figures: [
        figure("Condition number by step", \.conditionNumbers),
        figure("Frobenius norm by step", \.frobeniusNorms),
        figure("Effective rank by step", \.effectiveRanks),
      ])
  }

  private func column(
    _ metric: LayerMetric, _ end: String, _ key: String
  ) -> ReportTable.Column {
    .init(
      key: key, heading: "\(metric.heading) \(end)", kind: .real, isOptional: metric != .condition,
      explanation: metric.explanation)
  }

  /// The medians over all matrices, by step.
  private var stepTable: ReportTable {
    func median(_ values: [Double?]) -> ReportCell {
      let sorted = values.compactMap { $0 }.filter(\.isFinite).sorted()
      return sorted.isEmpty ? .empty : .real(sorted[sorted.count / 2])
    }
    return ReportTable(
      title: "Medians by step",
      columns: [
        .init(key: "step", heading: "step", kind: .integer),
        .init(key: "file", heading: "file", kind: .text),
        .init(key: "condition", heading: "condition", kind: .real),
        .init(key: "frobeniusNorm", heading: "Frobenius norm", kind: .real),
        .init(key: "effectiveRank", heading: "effective rank", kind: .real),
        .init(key: "stableRank", heading: "stable rank", kind: .real),
      ],
      rows: steps.indices.map { index in
        [
          .integer(steps[index].number), .text(steps[index].file),
          median(layers.map { $0.conditionNumbers[index] }),
          median(layers.map { $0.frobeniusNorms[index] }),
          median(layers.map { $0.effectiveRanks[index] }),
          median(layers.map { $0.stableRanks[index] }),
        ]
      }, isSummary: true)
  }

  /// The number of layers in a figure, one colour each.
  private static let drawnCount = 4

  private func figure(
    _ title: String, _ values: KeyPath<Layer, [Double?]>
  ) -> ReportFigure {
    .lines(
      title: title,
      axis: "Steps of training, the first on the left, of the matrices whose condition number "
        + "changes most.",
      series: layers.prefix(Self.drawnCount).map { layer in
        ReportFigure.Series(
          label: layer.name,
          points: zip(steps, layer[keyPath: values]).compactMap { step, value in
            value.map { .init(position: step.number, label: "step \(step.number)", value: $0) }
          })
      })
  }
}
