import Formats
import LinearAlgebra
import Ranks

/// The weight matrix of a packed file with the largest condition number, as dequantized.
struct WorstCondition {
  let layer: String
  /// σ_max/σ_min; infinite for a rank-deficient matrix.
  let conditionNumber: Double

  /// - Returns: `nil` when the file has no weight matrices.
  /// - Throws: `FormatError` when a tensor cannot be read; `LAPACKError` for one that is not finite.
  init?(of model: PackedModel, ranks: RankGroup, threads: Int) throws {
    let weights = model.header.entries.filter {
      $0.role == .weight && $0.elementType.isFloatingPoint && $0.shape.matrix != nil
    }.sorted { $0.shape.elementCount > $1.shape.elementCount }
    let budget = MemoryBudget.forMatrices(ofElementCounts: weights.map(\.shape.elementCount))
    let numbers = try ranks.map(count: weights.count, threads: threads) { index -> Double in
      let entry = weights[index]
      guard let tensor = try model.tensor(named: entry.name),
        let (rows, columns) = entry.shape.matrix
      else { return 0 }
      return try budget.using(elementCount: rows * columns) {
        try locatingErrors(tensor: entry.name) {
          try Spectrum(of: Matrix(rows: rows, columns: columns, values: tensor.doubleValues()))
            .conditionNumber
        }
      }
    }
    guard let worst = numbers.indices.max(by: { numbers[$0] < numbers[$1] }) else { return nil }
    layer = weights[worst].name
    conditionNumber = numbers[worst]
  }
}
