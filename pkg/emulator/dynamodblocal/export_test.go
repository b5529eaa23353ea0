package dynamodblocal

// CacheFolder returns the folder for downloads.
var CacheFolder = cacheFolder
