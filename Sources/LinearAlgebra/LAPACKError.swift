/// The reason a decomposition has no result.
///
/// ```swift
/// do {
///   print(try SingularValues(of: Matrix(rows: 1, columns: 2, values: [1, .nan])).values)
/// } catch let error as LAPACKError {
///   print(error)  // the element in row 0, column 1 is nan
/// }
/// ```
public enum LAPACKError: Error, Hashable, Sendable {
  /// An element is NaN or infinite; rows and columns are counted from zero.
  case nonFiniteElement(row: Int, column: Int, value: String)
  /// The routine's iteration did not converge; LAPACK's `info` gives the details.
  case noConvergence(routine: String, info: Int)
  /// The routine rejected an argument or could not allocate its workspace.
  case refused(routine: String, info: Int)
  /// A dimension exceeds LAPACK's 32-bit integers.
  case tooLarge(rows: Int, columns: Int)

  /// Throws the error represented by `info`, the return value of `routine`; zero is success.
  static func check(_ info: Int32, routine: String) throws {
    if info > 0 { throw noConvergence(routine: routine, info: Int(info)) }
    if info < 0 { throw refused(routine: routine, info: Int(info)) }
  }
}

extension LAPACKError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .nonFiniteElement(let row, let column, let value):
      "the element in row \(row), column \(column) is \(value)"
    case .noConvergence(let routine, let info):
      "\(routine) did not converge (info \(info))"
    case .refused(let routine, let info):
      "\(routine) could not start (info \(info))"
    case .tooLarge(let rows, let columns):
      "a matrix of \(rows) by \(columns) is beyond LAPACK's 32-bit dimensions"
    }
  }
}
