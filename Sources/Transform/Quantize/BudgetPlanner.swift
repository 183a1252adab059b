import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// Chooses the bit width of every quantized weight for a budget, by the error of the layer's output
/// at 2 to 8 bits, and at no fewer than the recipe's least bits for tables.
///
/// A layer's error at a bit width is `E‖(W − Ŵ)x‖² / E‖Wx‖²` with Ŵ rounded to nearest in the
/// bounds that the plan's search finds; without calibration, inputs are assumed to be white.
package struct BudgetPlanner: Sendable {
  package static let bitWidths = 2...8

  private let archive: TensorArchive
  private let plan: QuantizationPlan
  private let calibration: Calibration?
  private let budget: SizeBudget
  /// The number of bytes of the file besides codes, bounds and scales: kept tensors, the header,
  /// and alignment.
  private let fixedByteCount: Int

  /// - Parameters:
  ///   - plan: a plan with any bit widths; layouts and searches are taken from it.
  ///   - fixedByteCount: the bytes, other than quantized tensors' records, that count in a budget
  ///     in bytes.
  package init(
    _ archive: TensorArchive, plan: QuantizationPlan, calibration: Calibration?,
    budget: SizeBudget, fixedByteCount: Int
  ) throws {
    try calibration?.check(against: archive)
    self.archive = archive
    self.plan = plan
    self.calibration = calibration
    self.budget = budget
    self.fixedByteCount = fixedByteCount
  }

  /// The bit width of a layer and its expected error.
  package struct Choice: Hashable, Sendable {
    package let name: String
    package let bitWidth: Int
    /// `E‖(W − Ŵ)x‖² / E‖Wx‖²`.
    package let relativeOutputError: Double
  }

  /// Chooses the bit widths.
  ///
  /// - Throws: `ModelError` when even the least bits exceed the budget or a weight cannot be read.
  package func choices(threads: Int) throws -> [Choice] {
    let names = plan.quantizedNames
    let layers = try parallelMap(count: names.count, threads: threads) { index in
      try points(names[index])
    }
    guard let chosen = BitAllocation.choose(layers, budget: limit()) else {
      let least = Self.bitWidths.lowerBound
      let table = names.first { plan.leastBitWidth(of: $0) > least }
      throw ModelError(
        "\(budget) cannot be reached even at \(least) bits"
          + (table.map {
            " (tables have at least \(plan.leastBitWidth(of: $0)), such as '\($0)'; 'leastBits' in a "
              + "recipe file sets this)"
          } ?? ""), path: plan.recipe.errorName)
    }
    return zip(names, chosen).map { name, point in
      Choice(name: name, bitWidth: point.bitWidth, relativeOutputError: point.error)
    }
  }

  /// Returns the budget for the quantized tensors, in the unit of `cost`.
  private func limit() -> Double {
    switch budget {
    case .byteCount(let count): return Double(count - fixedByteCount)
    case .bitsPerWeight(let bits): return bits * Double(plan.quantizedElementCount) / 8
    case .ratio(let ratio), .paperRatio(let ratio):
      let countsTables = if case .ratio = budget { true } else { false }
      var (before, kept) = (0.0, 0.0)
      for entry in plan.entries.values where entry.sharedWith == nil && entry.role != .buffer {
        guard countsTables || entry.role != .positionTable else { continue }
        let bits = Double(entry.shape.elementCount) * Double(entry.elementType.bitWidth)
        before += bits
        if entry.quantization == nil { kept += bits }
      }
      return (before / ratio - kept) / 8
    }
  }

  private func cost(_ quantization: QuantizationPlan.Quantization, bitWidth: Int) -> Double {
    switch budget {
    case .ratio, .paperRatio: Double(quantization.layout.elementCount * bitWidth) / 8
    case .byteCount, .bitsPerWeight:
      Double(
        (AffineSpec(layout: quantization.layout, bitWidth: bitWidth).codeByteCount ?? .max / 2)
          + quantization.parameterByteCount)
    }
  }

  private func points(_ name: String) throws -> [BitAllocation.Point] {
    guard let tensor = archive.tensors[name], let planned = plan.entries[name]?.quantization else {
      throw ModelError("the plan does not quantize it", tensor: name)
    }
    let layout = planned.layout
    let moment = calibration?.moment(ofWeight: name, columns: layout.columns)
    let values = try WeightValues.of(name, tensor, planned.spec)
    func energy(_ values: [Double]) -> Double {
      let matrix = Matrix(rows: layout.rows, columns: layout.columns, values: values)
      return moment.map(matrix.energy) ?? matrix.inner(matrix)
    }
    let signal = energy(values.map(Double.init))
    return (plan.leastBitWidth(of: name)...Self.bitWidths.upperBound).map { bitWidth in
      let search = BoundSearch(
        method: planned.search == .free ? .dobi : planned.search, bitWidth: bitWidth,
        parameterType: planned.spec.parameterType)
      var errors = [Double](repeating: 0, count: values.count)
      for cell in 0..<layout.cellCount {
        let elements = layout.elements(ofCell: cell)
        let code = search.code(search.bounds(of: Array(values[elements])))
        for element in elements {
          errors[element] = Double(values[element] - code.decode(code.encode(values[element])))
        }
      }
      return BitAllocation.Point(
        bitWidth: bitWidth, cost: cost(planned, bitWidth: bitWidth),
        error: signal > 0 ? energy(errors) / signal : 0)
    }
  }
}

extension QuantizationPlan {
  /// The narrowest codes that a budget may choose for a quantized tensor.
  func leastBitWidth(of name: String) -> Int {
    max(
      BudgetPlanner.bitWidths.lowerBound, entries[name]?.quantization?.leastBitWidth ?? 1)
  }

  /// Returns the plan with other bit widths, by the names of quantized tensors; shared tensors
  /// follow.
  ///
  /// - Throws: `ModelError` when a record's length overflows.
  func settingBitWidths(_ bitWidths: [String: Int]) throws -> QuantizationPlan {
    var plan = self
    for (name, entry) in entries {
      guard let bitWidth = bitWidths[entry.sharedWith ?? name], entry.quantization != nil else {
        continue
      }
      plan.entries[name] = try entry.settingBitWidth(bitWidth)
    }
    return plan
  }
}

extension QuantizationPlan.Entry {
  fileprivate func settingBitWidth(_ bitWidth: Int) throws -> Self {
    guard let old = quantization else { return self }
    var spec = old.spec
    spec.bitWidth = bitWidth
    let changed = try locatingErrors(tensor: name) {
      try QuantizationPlan.Quantization(
        spec, of: shape, stackedCount: old.stackedCount, search: old.search,
        leastBitWidth: old.leastBitWidth)
    }
    return QuantizationPlan.Entry(
      name: name, elementType: elementType, shape: shape, role: role, sharedWith: sharedWith,
      quantization: changed,
      keptBecause: keptBecause, sourceByteCount: sourceByteCount)
  }
}
