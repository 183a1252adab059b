import Formats

/// How records are shared out to jobs.
package enum JobShare {
  /// The records of one job, those made from the most bytes first.
  ///
  /// Records are dealt out in that order, each to the job that has the fewest bytes so far, of equals
  /// the lowest. Every job works this out alone, and no job has more than the mean and the largest
  /// record together.
  package static func indices(of file: any PlacedFile, job: JobNumber) -> [Int] {
    all(of: file, count: job.count)[job.number - 1]
  }

  /// The records of every job.
  static func all(of file: any PlacedFile, count: Int) -> [[Int]] {
    let records = file.records
    // Jobs with what they have so far, as a heap: its first has the least.
    var heap = (0..<count).map { (bytes: 0, job: $0) }
    var shares = [[Int]](repeating: [], count: count)
    for index in file.largestFirst {
      shares[heap[0].job].append(index)
      // A tensor takes some time even where it has few bytes.
      heap[0].bytes += records[index].sourceByteCount + 4096
      sink(&heap)
    }
    return shares
  }

  private static func sink(_ heap: inout [(bytes: Int, job: Int)]) {
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if heap[child] < heap[least] { least = child }
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
