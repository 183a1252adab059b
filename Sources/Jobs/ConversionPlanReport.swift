import Formats

/// What a plan says of the work, for deciding how many jobs are to do it.
package struct ConversionPlanReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// How evenly so many jobs have the work.
  package struct Division: Codable, Hashable, Sendable {
    package let jobCount: Int
    /// Bytes that the job reads which has the most.
    package let largestShareByteCount: Int
    /// That share over the mean; with 1, all have the same.
    package let imbalance: Double
  }

  package let schemaVersion: Int
  /// The plan's file.
  package let plan: String
  package let input: String
  package let output: String
  package let format: String
  /// Tensors that have a record of their own.
  package let recordCount: Int
  /// Bytes that are read.
  package let sourceByteCount: Int
  /// Bytes of the output up to what seals it.
  package let recordsByteCount: Int
  package let largestTensor: String?
  package let largestTensorByteCount: Int
  package let divisions: [Division]

  /// - Parameter plan: where the plan is kept.
  package init(_ conversion: Conversion, plan: String) {
    let file = conversion.file
    let records = file.records
    let largest = file.largestFirst.first.map { records[$0] }
    schemaVersion = Self.currentSchemaVersion
    self.plan = plan
    input = conversion.plan.request.input
    output = conversion.plan.request.output
    format = conversion.plan.request.format
    recordCount = records.count
    let total = records.reduce(0) { $0 + $1.sourceByteCount }
    sourceByteCount = total
    recordsByteCount = file.recordsEnd
    largestTensor = largest?.name
    largestTensorByteCount = largest?.sourceByteCount ?? 0
    divisions = sequence(first: 1) { 2 * $0 }.prefix { $0 <= min(1024, records.count) }
      .map { count in
        let shares = JobShare.all(of: file, count: count)
        let most =
          shares.map { share in share.reduce(0) { $0 + records[$1].sourceByteCount } }.max() ?? 0
        return Division(
          jobCount: count, largestShareByteCount: most,
          imbalance: total > 0 ? Double(most) * Double(count) / Double(total) : 1)
      }
  }
}
